resource "google_pubsub_topic" "this" {
  #checkov:skip=CKV_GCP_83:Google's own keys encrypt it; messages name stocks and days, nothing else

  for_each = local.pipeline.topics

  name                       = each.key
  message_retention_duration = "604800s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [time_sleep.apis]
}
