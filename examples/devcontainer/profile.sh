. /var/lib/outgate/env
