"""What a studio installs: the only code that sees pixels."""
