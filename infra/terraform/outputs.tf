output "database_instance" {
  description = "CLOUD_SQL_INSTANCE of make migrate."
  value       = google_sql_database_instance.this.connection_name
}

output "database_migrator" {
  description = "DATABASE_USER of make migrate, and the service account to act as."
  value       = google_sql_user.migrator.name
}

output "database_grants" {
  description = "Which account has which role in the database: DATABASE_GRANTS of make migrate."
  value       = local.database_grants
}

output "egress_address" {
  description = "Register this address at Kiwoom."
  value       = google_compute_address.egress.address
}

output "functions" {
  description = "Where the functions are: Pub/Sub reaches them, and viewers the status page."
  value       = local.uri_of
}
