#!/bin/sh
# What the lab runs in its guest unless told otherwise: the mtty driver of a real
# kernel, first as the kernel shows it, then through this project's programs.

cd "$(dirname "$0")" || exit 1
# shellcheck source=test/lab/tap.sh
. ./tap.sh

mtty=/sys/class/mdev_bus/mtty/mdev_supported_types
mdev=/sys/bus/mdev/devices

# Two devices of one kind, to save from and to load into, and one that does not fit.
A=aaaaaaaa-0000-4000-8000-000000000001
B=bbbbbbbb-0000-4000-8000-000000000002
C=cccccccc-0000-4000-8000-000000000003

create() { echo "$2" >"$mtty/$1/create"; }
group_of() { basename "$(readlink -f "$mdev/$1/iommu_group")"; }

check 'create A, a mtty-2' create mtty-2 "$A"
check 'create B, a mtty-2' create mtty-2 "$B"
check 'create C, a mtty-1' create mtty-1 "$C"
check_equal '19 of 24 ports are left' 19 "$(cat "$mtty/mtty-1/available_instances")"
check_status 'a second device with the same UUID is refused' 1 create mtty-2 "$A"

for device in "$A" "$B" "$C"; do
  check "$device is bound to mtty" [ "$(basename "$(readlink -f "$mdev/$device/driver")")" = mtty ]
  check "$device is a registered VFIO device" ls -d "$mdev/$device/vfio-dev"/vfio*
  check "$device has the group node /dev/vfio/$(group_of "$device")" [ -c "/dev/vfio/$(group_of "$device")" ]
done

check 'Node finds the three devices and opens their groups' ./devices.mjs "$A" "$B" "$C"

finish
