# As cheap as it gets; stop the database while it is not used (docs/deploy.md).
database_max_connections = 50
database_tier            = "db-g1-small"
deletion_protection      = false
environment              = "dev"
kiwoom_mode              = "mock"
schedules_paused         = true
