"""The privacy audit: attacks on the studio's own training code, on made-up data, to see whether its claims hold."""
