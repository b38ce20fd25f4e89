"""Middleware for all requests: request id, common headers, concurrency limit, rate limit, hosts, CORS, proxies."""
