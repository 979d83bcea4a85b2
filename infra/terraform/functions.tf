resource "google_cloudfunctions2_function" "this" {
  #checkov:skip=CKV_GCP_124:All are internal but the status page, which wants run.invoker
  for_each = local.functions

  name     = local.service_name[each.key]
  location = var.region

  build_config {
    runtime           = "python${replace(local.pipeline.python, ".", "")}"
    entry_point       = each.value.entry_point
    docker_repository = google_artifact_registry_repository.images.id
    service_account   = google_service_account.builder.id

    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.package[local.source_of[each.key]].name
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.function[each.key].email
    available_memory                 = each.value.memory
    available_cpu                    = "1"
    timeout_seconds                  = each.value.timeout_seconds
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = each.value.min_instances
    max_instance_count               = each.value.max_instances
    ingress_settings                 = local.ingress[each.value.trigger]
    all_traffic_on_latest_revision   = true

    # Everything, not only private addresses: the broker must see the reserved one, and
    # whatever does not call the broker is in a subnetwork that leads to no internet.
    direct_vpc_egress = "VPC_EGRESS_ALL_TRAFFIC"

    direct_vpc_network_interface {
      network    = google_compute_network.this.name
      subnetwork = local.subnetwork_of[each.key]
    }

    environment_variables = merge(
      local.pipeline.environment,
      each.value.environment,
      {
        GOOGLE_CLOUD_PROJECT = var.project_id
        KIWOOM_MODE          = var.kiwoom_mode
        THREADS              = tostring(each.value.concurrency)
      },
      each.value.database == "none" ? {} : {
        CLOUD_SQL_INSTANCE = google_sql_database_instance.this.connection_name
        DATABASE_NAME      = google_sql_database.this.name
        DATABASE_POOL      = tostring(each.value.database_pool)
        DATABASE_USER      = google_sql_user.function[each.key].name
      },
      # When candles are due: never, while the schedules are paused.
      !try(each.value.reads_schedules, false) ? {} : {
        SCHEDULES = jsonencode([
          for schedule in local.pipeline.schedules :
          { cron = schedule.cron, payload = schedule.payload }
          if schedule.topic == "triggers" && !var.schedules_paused
        ])
      },
    )
  }

  depends_on = [
    google_compute_router_nat.this,
    terraform_data.preconditions,
    time_sleep.builder_rights,
  ]
}
