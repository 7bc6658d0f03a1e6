#!/usr/bin/env bash
# Runs a slow command quietly and says how it goes.
# Usage: scripts/step.sh "what is being done" COMMAND [ARG ...]
# Prints the elapsed time every ten seconds, and the command's output if it fails.
set -uo pipefail
what=$1; shift
log=$(mktemp); trap 'rm -f "$log"' EXIT
start=$SECONDS
"$@" >"$log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; rm -f "$log"; exit 130' INT TERM
printf '  %-58s' "$what"
next=10
while kill -0 $pid 2>/dev/null; do
  sleep 0.2
  if [ $((SECONDS - start)) -ge $next ]; then printf ' %ss' $next; next=$((next + 10)); fi
done
wait $pid; code=$?
if [ $code -eq 0 ]; then
  printf ' done (%ss)\n' $((SECONDS - start))
else
  printf ' FAILED\n'; cat "$log" >&2
fi
exit $code
