"""The broker, Kiwoom Securities."""
