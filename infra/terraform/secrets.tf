# Shells only: no value is ever in Terraform's state. docs/deploy.md adds the keys, the
# token is added by token_refresher.
resource "google_secret_manager_secret" "this" {
  for_each = local.pipeline.secrets

  secret_id = each.key

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [time_sleep.apis]
}
