"""What runs on a board beside `trtexec`: programs for its own ``sh``, which may be dash."""

# $1 is the run's folder; the number kept there lets a later connection end what an earlier one began.
RUN = 'mkdir -p -- "$1" && echo $$ > "$1/pid" && shift && exec "$@" 2>&1'

# The same, begun inside the run's folder: trtexec splits its list of input files at signs that a path may hold.
RUN_INSIDE = 'mkdir -p -- "$1" && echo $$ > "$1/pid" && cd -- "$1" && shift && exec "$@" 2>&1'

# The same for runs of minutes: beside it, every $3 seconds, GPU clock and hottest zone go to a file, until the run that
# this shell becomes is over. $2 stands before /sys. The PMIC-Die zone of a Nano always says 100 degrees.
RUN_WATCHED = r"""
mkdir -p -- "$1" && echo $$ > "$1/pid" || exit 1
d=$1; r=$2; every=$3; shift 3
watch() {
  while kill -0 $$; do
    g=; hot=
    for f in "$r"/sys/devices/gpu.0/devfreq/*/cur_freq "$r"/sys/class/devfreq/*.gpu/cur_freq \
      "$r"/sys/class/devfreq/17000000.*/cur_freq "$r"/sys/class/devfreq/gpu-gpc-0/cur_freq; do
      [ -r "$f" ] && read -r g < "$f" && break
    done
    for z in "$r"/sys/class/thermal/thermal_zone*; do
      [ -r "$z/type" ] && read -r t < "$z/type" && read -r v < "$z/temp" || continue
      case $t in *PMIC*) continue;; esac
      [ "${v:-0}" -gt "${hot:-0}" ] && hot=$v
    done
    echo "${g:-0} ${hot:-0}"
    sleep "$every"
  done
}
watch > "$d/samples" 2>/dev/null < /dev/null &
exec "$@" 2>&1
"""

# Makes the folder that keeps engines from one stay to the next, and says where it is and what is in it.
STORE = r"""
d=${XDG_CACHE_HOME:-$HOME/.cache}/nuwa-search/$1
mkdir -p -m 700 -- "$d" && cd -- "$d" && pwd -P || exit 1
rm -f -- *.part
for e in *.engine; do [ -s "$e" ] && printf '%s\n' "$e"; done
exit 0
"""

# Ends the process groups whose leader still runs something of this folder; a reboot hands out the
# numbers anew, so the command line is looked at first.
END_ALL = r"""
for f in "$1"/run-*/pid; do
  [ -r "$f" ] && read -r p < "$f" || continue
  grep -qaF -- "$1" "/proc/$p/cmdline" 2>/dev/null && kill -KILL "-$p" 2>/dev/null  # dash knows no `--` here
done
rm -rf -- "$1"/run-*
exit 0
"""
