#!/bin/sh
# pack.sh TREE HEAD: prints a txtar archive of a captured tree, with the text
# of file HEAD as its head.
set -eu
cat "$2"
cd "$1"
find . -type f | LC_ALL=C sort | while read -r f; do
	echo "-- ${f#./} --"
	cat "$f"
done
