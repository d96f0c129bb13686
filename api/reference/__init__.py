"""The API described: the OpenAPI document and the page that reads it."""
