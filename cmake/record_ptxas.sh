#!/bin/sh
# record_ptxas.sh COMPILER ARGUMENT... -o OBJECT ...: runs nvcc and keeps what ptxas reports about each kernel
# in OBJECT.ptxas, for scripts/kernel_report.py. Everything else that nvcc says stays visible.
previous='' object=''
for argument in "$@"; do
  if [ "$previous" = -o ]; then object=$argument; fi
  previous=$argument
done
# Without an object nothing is compiled.
if [ -z "$object" ]; then exec "$@"; fi
"$@" 2>"$object.stderr"
status=$?
about_kernels='^ptxas info|^ +[0-9]+ bytes stack frame'
grep -E "$about_kernels" "$object.stderr" >"$object.ptxas"
grep -vE "$about_kernels" "$object.stderr" >&2
rm -f "$object.stderr"
exit $status
