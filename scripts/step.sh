#!/usr/bin/env bash
# Runs a slow command quietly and says how it goes.
# Usage: scripts/step.sh "what is being done" COMMAND [ARG ...]
# Prints the elapsed time every twenty seconds, and the command's output if it
# fails; whole lines, since steps may run side by side.
set -uo pipefail
what=$1; shift
log=$(mktemp); trap 'rm -f "$log"' EXIT
start=$SECONDS
"$@" >"$log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; rm -f "$log"; exit 130' INT TERM
say() { printf '  %-58s %s\n' "$what" "$1"; }
next=20
while kill -0 $pid 2>/dev/null; do
  sleep 0.2
  if [ $((SECONDS - start)) -ge $next ]; then say "$next s"; next=$((next + 20)); fi
done
wait $pid; code=$?
if [ $code -eq 0 ]; then
  say "done ($((SECONDS - start)) s)"
else
  say FAILED; cat "$log" >&2
fi
exit $code
