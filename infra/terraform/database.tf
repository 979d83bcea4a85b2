resource "google_sql_database_instance" "this" {
  #checkov:skip=CKV_GCP_57:Slow statements are worth a look, and carry neither secrets nor people
  #checkov:skip=CKV_GCP_79:Tests run against 15, and nothing newer is used: 17 is between
  #checkov:skip=CKV_GCP_108:A host name is one more DNS query a connection, and all are functions
  #checkov:skip=CKV_GCP_110:Every change is in the ledger; pgAudit would log each of a million rows
  #checkov:skip=CKV_GCP_111:Changes of tables are logged; every statement would be gigabytes a day
  #checkov:skip=CKV2_GCP_13:The same: only slow statements are logged with their duration

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

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }

    database_flags {
      name  = "log_statement"
      value = "ddl"
    }
  }

  depends_on = [google_service_networking_connection.database]
}

# A database to which anybody is connected cannot be dropped, nor an account on which
# anything depends. These go with their instance, so a destroy leaves them to it.
resource "google_sql_database" "this" {
  name            = "pipeline"
  instance        = google_sql_database_instance.this.name
  deletion_policy = "ABANDON"
}

# Accounts sign in by IAM, without a password. They are given their roles by the migration,
# which creates these; infra/database_rights.py says what each may do.
resource "google_sql_user" "function" {
  for_each = local.with_database

  name            = trimsuffix(google_service_account.function[each.key].email, local.suffix)
  instance        = google_sql_database_instance.this.name
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  deletion_policy = "ABANDON"
}

# A person who leaves the list is dropped: nobody but the administrator owns anything.
resource "google_sql_user" "reader" {
  for_each = var.database_readers

  name     = each.key
  instance = google_sql_database_instance.this.name
  type     = "CLOUD_IAM_USER"
}

# The migration acts as this role: it owns the tables, so that no account does.
resource "google_sql_user" "migrator" {
  name            = trimsuffix(google_service_account.migrator.email, local.suffix)
  instance        = google_sql_database_instance.this.name
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  database_roles  = ["cloudsqlsuperuser"]
  deletion_policy = "ABANDON"
}
