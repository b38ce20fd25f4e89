"""The REST door: endpoints from models and from typed functions, and the OpenAPI document that describes them."""
