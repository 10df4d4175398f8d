"""What people type: the daemons, the inspector, the operator command."""
