# Jobs run inside the network, because the database has a private address only. No resource
# builds an image from a zip, so gcloud does, as the account that builds the functions.
locals {
  jobs         = setunion(["migrate"], local.exports)
  job_packages = { for job in local.jobs : job => lookup(local.packages, job, "missing.zip") }
  job_images = {
    for job, package in local.job_packages : job => join("/", [
      "${var.region}-docker.pkg.dev",
      var.project_id,
      google_artifact_registry_repository.images.repository_id,
      "${job}:${trimsuffix(package, ".zip")}",
    ])
  }
}

resource "google_storage_bucket_object" "job" {
  for_each = local.job_packages

  name   = each.value
  bucket = google_storage_bucket.sources.name
  source = "${local.build}/${each.value}"
}

resource "terraform_data" "job_image" {
  for_each = local.job_images

  triggers_replace = [each.value, local.pipeline.python]

  provisioner "local-exec" {
    command = join(" ", [
      "gcloud builds submit",
      "${google_storage_bucket.sources.url}/${google_storage_bucket_object.job[each.key].name}",
      "--config=${path.module}/job.cloudbuild.yaml",
      "--gcs-source-staging-dir=${google_storage_bucket.sources.url}/staging",
      "--project=${var.project_id}",
      "--region=${var.region}",
      "--service-account=${google_service_account.builder.id}",
      "--substitutions=_IMAGE=${each.value},_PYTHON=${local.pipeline.python}.x",
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
        image = local.job_images["migrate"]
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
