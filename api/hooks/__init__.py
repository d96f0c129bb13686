"""The door for webhooks below /hooks: verified and stored before they are acknowledged."""
