"""Tandem as it is measured: the service with the TechEmpower workloads as additional endpoints."""
