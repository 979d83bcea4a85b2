# The migration: a job inside the network, because the database has a private address only.
# No resource builds an image from a zip, so gcloud does, as the account that builds the
# functions.
locals {
  job_package = lookup(local.packages, "job", "missing.zip")
  job_image = join("/", [
    "${var.region}-docker.pkg.dev",
    var.project_id,
    google_artifact_registry_repository.images.repository_id,
    "migrate:${trimsuffix(local.job_package, ".zip")}",
  ])
}

resource "google_storage_bucket_object" "job" {
  name   = local.job_package
  bucket = google_storage_bucket.sources.name
  source = "${local.build}/${local.job_package}"
}

resource "terraform_data" "job_image" {
  triggers_replace = [local.job_image, local.pipeline.python]

  provisioner "local-exec" {
    command = join(" ", [
      "gcloud builds submit gs://${google_storage_bucket.sources.name}/${google_storage_bucket_object.job.name}",
      "--config=${path.module}/job.cloudbuild.yaml",
      "--gcs-source-staging-dir=gs://${google_storage_bucket.sources.name}/staging",
      "--project=${var.project_id}",
      "--region=${var.region}",
      "--service-account=${google_service_account.builder.id}",
      "--substitutions=_IMAGE=${local.job_image},_PYTHON=${local.pipeline.python}.x",
    ])
  }

  depends_on = [terraform_data.preconditions, time_sleep.builder_rights]
}

resource "google_cloud_run_v2_job" "migrate" {
  name                = "migrate"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.migrator.email
      max_retries     = 0
      timeout         = "3600s"

      vpc_access {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = google_compute_network.this.name
          subnetwork = google_compute_subnetwork.this["internal"].name
        }
      }

      containers {
        image = local.job_image
        # A process of the Procfile, started by the launcher of the buildpack.
        command = ["/cnb/process/migrate"]

        dynamic "env" {
          for_each = {
            CLOUD_SQL_INSTANCE   = google_sql_database_instance.this.connection_name
            DATABASE_GRANTS      = local.database_grants
            DATABASE_NAME        = google_sql_database.this.name
            DATABASE_USER        = google_sql_user.migrator.name
            GOOGLE_CLOUD_PROJECT = var.project_id
          }

          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  depends_on = [
    google_project_iam_member.database,
    terraform_data.job_image,
  ]
}
