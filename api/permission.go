package api

// Permission is what an API key or a role may do.
type Permission string

// The permissions.
const (
	PermissionWriteRegistries  Permission = "write:registries"
	PermissionDeleteRegistries Permission = "delete:registries"
	PermissionWriteSnapshots   Permission = "write:snapshots"
	PermissionDeleteSnapshots  Permission = "delete:snapshots"
	PermissionWriteSandboxes   Permission = "write:sandboxes"
	PermissionDeleteSandboxes  Permission = "delete:sandboxes"
	PermissionReadVolumes      Permission = "read:volumes"
	PermissionWriteVolumes     Permission = "write:volumes"
	PermissionDeleteVolumes    Permission = "delete:volumes"
	PermissionWriteRegions     Permission = "write:regions"
	PermissionDeleteRegions    Permission = "delete:regions"
	PermissionReadRunners      Permission = "read:runners"
	PermissionWriteRunners     Permission = "write:runners"
	PermissionDeleteRunners    Permission = "delete:runners"
	PermissionReadAuditLogs    Permission = "read:audit_logs"
)

// Permissions lists every permission; the oldest clients know the first ten.
func Permissions() []Permission {
	return []Permission{
		PermissionWriteRegistries, PermissionDeleteRegistries,
		PermissionWriteSnapshots, PermissionDeleteSnapshots,
		PermissionWriteSandboxes, PermissionDeleteSandboxes,
		PermissionReadVolumes, PermissionWriteVolumes, PermissionDeleteVolumes,
		PermissionReadAuditLogs,
		PermissionWriteRegions, PermissionDeleteRegions,
		PermissionReadRunners, PermissionWriteRunners, PermissionDeleteRunners,
	}
}

// Enum lists the values for the OpenAPI document.
func (Permission) Enum() []any { return anys(Permissions()) }

func anys[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
