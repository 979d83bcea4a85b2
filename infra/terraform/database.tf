resource "google_sql_database_instance" "this" {
  name                = "pipeline"
  database_version    = "POSTGRES_17"
  region              = var.region
  deletion_protection = var.deletion_protection

  settings {
    tier                        = var.database_tier
    edition                     = "ENTERPRISE"
    availability_type           = var.database_high_availability ? "REGIONAL" : "ZONAL"
    deletion_protection_enabled = var.deletion_protection
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    connector_enforcement       = "REQUIRED"

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      start_time                     = "18:00" # 03:00 in Seoul
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = 14
      }
    }

    maintenance_window {
      day          = 6 # Saturday, 12:00 in Seoul: after the repair, before Monday
      hour         = 3
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled = true
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.database_max_connections)
    }

    database_flags {
      name  = "timezone"
      value = "UTC"
    }

    # Slower than this is worth a look; the statements carry no secret.
    database_flags {
      name  = "log_min_duration_statement"
      value = "2000"
    }

    dynamic "database_flags" {
      for_each = toset(["log_checkpoints", "log_connections", "log_disconnections", "log_lock_waits"])

      content {
        name  = database_flags.key
        value = "on"
      }
    }
  }

  depends_on = [google_service_networking_connection.database]
}

resource "google_sql_database" "this" {
  name     = "pipeline"
  instance = google_sql_database_instance.this.name
}

# Functions sign in as their service account, without a password. What each may do is
# granted by `make migrate`: the roles are tables' business, not infrastructure.
resource "google_sql_user" "function" {
  for_each = local.with_database

  name     = trimsuffix(google_service_account.function[each.key].email, ".gserviceaccount.com")
  instance = google_sql_database_instance.this.name
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"
}

resource "google_sql_user" "migrator" {
  name     = trimsuffix(google_service_account.migrator.email, ".gserviceaccount.com")
  instance = google_sql_database_instance.this.name
  type     = "CLOUD_IAM_SERVICE_ACCOUNT"
}
