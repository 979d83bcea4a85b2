resource "google_compute_network" "this" {
  name                    = "pipeline"
  auto_create_subnetworks = false

  depends_on = [time_sleep.apis]
}

locals {
  # Only the subnetwork of what calls the broker has a way to the internet; the other one
  # leads to the database and, by private Google access, to Google's services.
  subnetworks = {
    broker   = "10.10.0.0/24"
    internal = "10.10.1.0/24"
  }
}

resource "google_compute_subnetwork" "this" {
  for_each = local.subnetworks

  name                     = each.key
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = each.value
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# No ingress: functions only call out, and are reached through Google's front end.
resource "google_compute_firewall" "deny_ingress" {
  name          = "deny-ingress"
  network       = google_compute_network.this.name
  direction     = "INGRESS"
  priority      = 1000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

# Kiwoom serves registered addresses only: all requests leave through this one.
resource "google_compute_address" "egress" {
  name         = "egress"
  region       = var.region
  address_type = "EXTERNAL"

  depends_on = [time_sleep.apis]
}

resource "google_compute_router" "this" {
  name    = "egress"
  network = google_compute_network.this.id
  region  = var.region
}

resource "google_compute_router_nat" "this" {
  name                               = "egress"
  router                             = google_compute_router.this.name
  region                             = var.region
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.egress.self_link]
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.this["broker"].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# The database has an address in this network only.
resource "google_compute_global_address" "database" {
  name          = "database"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database.name]

  # Cloud SQL holds it for days after the database has gone, to be able to restore it, and
  # refuses to let it go: docs/deploy.md removes what is left.
  deletion_policy = "ABANDON"
}
