#!/bin/sh
# What the lab's routers and the home networks behind them run.
#   router.sh nat           translates addresses between a home network and the wide one (198.51.100.0/24), and lets in
#                           only what was asked for. NAT=symmetric: with another port for each destination
#   router.sh home ROUTER   sends everything that is not for this network by that router, and holds the network open
set -eu
case $1 in
    nat)
        wide=$(ip -4 -o address | awk '$4 ~ /^198\.51\.100\./ { print $2 }')
        random=''
        if [ "${NAT:-}" = symmetric ]; then random=fully-random; fi
        # The first rule of `own`: an early probe from outside must not take the port that the inside is to have.
        nft -f - <<RULES
table ip lab {
    chain leave { type nat hook postrouting priority 100
        oifname "$wide" meta l4proto udp masquerade $random
        oifname "$wide" masquerade
    }
    chain own { type filter hook input priority 0
        iifname "$wide" meta l4proto udp drop
    }
    chain through { type filter hook forward priority 0
        iifname "$wide" ct state new drop
    }
}
RULES
        ;;
    home)
        router=$(getent ahostsv4 "$2" | awk 'NR == 1 { print $1 }')
        ip route replace default via "$router"
        ;;
esac
exec sleep infinity
