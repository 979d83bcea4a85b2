"""What a running stack shows: pure values, drawn for a terminal or as plain lines."""
