"""What every request passes through: request id, common headers, limits, hosts, CORS, proxies."""
