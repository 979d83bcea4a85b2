# The database has a private address only, so a bucket is how people read candles. A job
# writes what is settled to it every morning, and may do nothing else.
locals {
  exports  = var.export_candles ? toset(["export"]) : toset([])
  bigquery = var.export_to_bigquery ? local.exports : toset([])
  # Minutes are exported by month, days and weeks by year.
  period_of  = { "5m" = "month", "30m" = "month", "60m" = "month", "1d" = "year", "1w" = "year" }
  candle_uri = "gs://${var.project_id}-candles"
}

resource "google_storage_bucket" "candles" {
  #checkov:skip=CKV_GCP_62:Prices are no secret; audit logs tell who read them
  #checkov:skip=CKV_GCP_78:Files never change, and their names are their digests
  for_each = local.exports

  name                        = "${var.project_id}-candles"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "exporter" {
  for_each = local.exports

  account_id   = "exporter"
  display_name = "Exports candles to the bucket"

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "export_schedule" {
  for_each = local.exports

  account_id   = "export-schedule"
  display_name = "Starts the export"

  depends_on = [time_sleep.apis]
}

# What it may read is granted by the migration: it has the role of a reader.
resource "google_sql_user" "exporter" {
  for_each = local.exports

  name            = trimsuffix(google_service_account.exporter[each.key].email, local.suffix)
  instance        = google_sql_database_instance.this.name
  type            = "CLOUD_IAM_SERVICE_ACCOUNT"
  deletion_policy = "ABANDON"
}

resource "google_project_iam_member" "exporter" {
  for_each = toset(!var.export_candles ? [] : [
    "roles/cloudsql.client",
    "roles/cloudsql.instanceUser",
  ])

  project = var.project_id
  role    = each.value
  member  = google_service_account.exporter["export"].member

  condition {
    title      = "only-this-instance"
    expression = local.this_instance
  }
}

resource "google_storage_bucket_iam_member" "exporter" {
  for_each = local.exports

  bucket = google_storage_bucket.candles[each.key].name
  role   = "roles/storage.objectUser"
  member = google_service_account.exporter[each.key].member
}

resource "google_storage_bucket_iam_member" "candle_reader" {
  for_each = var.export_candles ? var.candle_readers : toset([])

  bucket = google_storage_bucket.candles["export"].name
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_cloud_run_v2_job" "export" {
  for_each = local.exports

  name                = "export"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.exporter[each.key].email
      timeout         = "3600s"
      max_retries     = 1

      containers {
        image   = local.job_images[each.key]
        command = ["/cnb/process/export"]

        env {
          name = "TRADESMART_SOURCE"
          value = join("", [
            "cloudsql://${google_sql_database_instance.this.connection_name}",
            "/${google_sql_database.this.name}",
            "?user=${google_sql_user.exporter[each.key].name}",
          ])
        }

        env {
          name  = "EXPORT_TO"
          value = local.candle_uri
        }

        resources {
          limits = {
            cpu    = "2"
            memory = "2Gi"
          }
        }
      }

      vpc_access {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = google_compute_network.this.name
          subnetwork = google_compute_subnetwork.this["internal"].name
        }
      }
    }
  }

  depends_on = [
    google_project_iam_member.exporter,
    terraform_data.job_image,
  ]
}

resource "google_cloud_run_v2_job_iam_member" "export_schedule" {
  for_each = local.exports

  name     = google_cloud_run_v2_job.export[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = google_service_account.export_schedule[each.key].member
}

# An hour after the tick that settles the last session.
resource "google_cloud_scheduler_job" "export" {
  for_each = local.exports

  name      = "export"
  region    = var.region
  schedule  = "30 8 * * *"
  time_zone = local.pipeline.time_zone
  paused    = var.schedules_paused

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.export[each.key].id}:run"

    oauth_token {
      service_account_email = google_service_account.export_schedule[each.key].email
    }
  }

  retry_config {
    retry_count = 3
  }
}

# Candles in BigQuery, as they lie in the bucket. A view leaves out the files that are no
# part of the export any more, and tells the time in Seoul.
resource "google_bigquery_dataset" "candles" {
  #checkov:skip=CKV_GCP_81:Google's own keys encrypt the bucket too
  for_each = local.bigquery

  dataset_id  = "candles"
  location    = var.region
  description = "Exported candles"

  depends_on = [time_sleep.apis]
}

resource "google_bigquery_table" "files" {
  #checkov:skip=CKV_GCP_80:Nothing is stored here, it reads the bucket
  #checkov:skip=CKV_GCP_121:Nothing is stored here that could be lost
  for_each = local.bigquery

  dataset_id          = google_bigquery_dataset.candles[each.key].dataset_id
  table_id            = "manifest"
  deletion_protection = false

  external_data_configuration {
    autodetect    = true
    source_format = "NEWLINE_DELIMITED_JSON"
    source_uris   = ["${local.candle_uri}/manifests/latest.json"]
  }
}

resource "google_bigquery_table" "candles" {
  #checkov:skip=CKV_GCP_80:Nothing is stored here, it reads the bucket
  #checkov:skip=CKV_GCP_121:Nothing is stored here that could be lost
  for_each = var.export_to_bigquery ? local.period_of : {}

  dataset_id          = google_bigquery_dataset.candles["export"].dataset_id
  table_id            = "files_${each.key}"
  deletion_protection = false

  external_data_configuration {
    autodetect    = true
    source_format = "PARQUET"
    source_uris   = ["${local.candle_uri}/candles/timeframe=${each.key}/*"]

    # Keys are given, not guessed: a month is no date, and a code is no number.
    hive_partitioning_options {
      mode              = "CUSTOM"
      source_uri_prefix = "${local.candle_uri}/candles/timeframe=${each.key}/{${each.value}:STRING}"
    }
  }
}

resource "google_bigquery_table" "view" {
  #checkov:skip=CKV_GCP_80:Nothing is stored here, it reads the bucket
  #checkov:skip=CKV_GCP_121:Nothing is stored here that could be lost
  for_each = var.export_to_bigquery ? local.period_of : {}

  dataset_id          = google_bigquery_dataset.candles["export"].dataset_id
  table_id            = "candles_${each.key}"
  deletion_protection = false

  view {
    use_legacy_sql = false
    query          = <<-SQL
      SELECT stock_code, DATETIME(opened_at, 'Asia/Seoul') AS opened_in_seoul,
             * EXCEPT (stock_code)
      FROM `${var.project_id}.candles.${google_bigquery_table.candles[each.key].table_id}`
      WHERE _FILE_NAME IN (
        SELECT CONCAT('${local.candle_uri}/', file.path)
        FROM `${var.project_id}.candles.${google_bigquery_table.files["export"].table_id}`,
             UNNEST(files) AS file)
    SQL
  }
}
