resource "google_cloud_scheduler_job" "this" {
  for_each = local.pipeline.schedules

  name      = each.key
  region    = var.region
  schedule  = each.value.cron
  time_zone = local.pipeline.time_zone
  paused    = var.schedules_paused && each.value.topic != "tokens"

  pubsub_target {
    topic_name = google_pubsub_topic.this[each.value.topic].id
    data       = base64encode(jsonencode(each.value.payload))
  }

  retry_config {
    retry_count = 3
  }

  depends_on = [terraform_data.preconditions]
}
