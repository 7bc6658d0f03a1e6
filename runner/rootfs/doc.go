// Package rootfs keeps images and makes root file systems from them.
//
// Images live in containerd's content store, metadata database and overlayfs
// snapshotter, used as libraries in this process; there is no daemon. A
// sandbox's root is an overlay of the image's layers under a writable layer with
// a hard size limit, so that `df` inside shows the sandbox's own disk. How the
// limit is made is chosen at Open by probing (see Config.Disk).
package rootfs
