# Becomes the first process of a machine: systemd over a copy of this one's root. The directory holds `up`, `work` and `root`.
# To be run in new namespaces of every kind but user's.
set -eu
dir=$1
root=$dir/root
# Nothing is shared, as in containers, where systemd leaves it so: the agent is to find namespaces all the same that are named later.
mount --make-rprivate /
mount -t overlay -o "lowerdir=/,upperdir=$dir/up,workdir=$dir/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs tmp "$root/tmp"
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "kmsg 1 11" "tty 5 0"; do
	set -- $node
	mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 pts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

if [ ! -e "$root/etc/bpftables-machine" ]; then
	# Nothing that this machine has enabled, set up or kept: a Debian with its defaults.
	rm -rf "$root"/etc/systemd/system/* "$root"/etc/rc?.d/* "$root"/etc/iptables "$root"/var/log/journal "$root"/usr/sbin/policy-rc.d
	echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
	: >"$root/etc/fstab"
	# What would reach beyond these namespaces, and what a shell of its own would wait for.
	for unit in systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \
		systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service systemd-timesyncd.service \
		systemd-random-seed.service systemd-logind.service systemd-remount-fs.service kmod-static-nodes.service \
		systemd-update-utmp.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount getty.target; do
		ln -s /dev/null "$root/etc/systemd/system/$unit"
	done
	touch "$root/etc/bpftables-machine"
fi

mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l /old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=bpftables /lib/systemd/systemd --unit=multi-user.target
