"""A bridge from taskq to clients who want to be told: server-sent events, WebSocket, webhooks."""
