database_max_connections = 100
database_tier            = "db-custom-1-3840"
deletion_protection      = true
environment              = "prod"
kiwoom_mode              = "real"
