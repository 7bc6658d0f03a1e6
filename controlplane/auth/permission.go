package auth

import (
	"slices"

	"daytona/controlplane/org"
)

// Permission is a right that a key or a role can carry.
type Permission string

// The permissions.
const (
	WriteRegistries Permission = "write:registries"
	DelRegistries   Permission = "delete:registries"
	WriteSnapshots  Permission = "write:snapshots"
	DelSnapshots    Permission = "delete:snapshots"
	WriteSandboxes  Permission = "write:sandboxes"
	DelSandboxes    Permission = "delete:sandboxes"
	ReadVolumes     Permission = "read:volumes"
	WriteVolumes    Permission = "write:volumes"
	DelVolumes      Permission = "delete:volumes"
	ReadAuditLogs   Permission = "read:audit_logs"
	WriteRegions    Permission = "write:regions"
	DelRegions      Permission = "delete:regions"
	ReadRunners     Permission = "read:runners"
	WriteRunners    Permission = "write:runners"
	DelRunners      Permission = "delete:runners"
)

// Permissions returns every permission there is.
func Permissions() []Permission {
	return []Permission{
		WriteRegistries, DelRegistries, WriteSnapshots, DelSnapshots, WriteSandboxes, DelSandboxes,
		ReadVolumes, WriteVolumes, DelVolumes, ReadAuditLogs,
		WriteRegions, DelRegions, ReadRunners, WriteRunners, DelRunners,
	}
}

// Valid reports whether p is a permission.
func (p Permission) Valid() bool { return slices.Contains(Permissions(), p) }

// AssignableRole is a named set of permissions that members can be given.
type AssignableRole struct {
	ID, Name, Description string
	Permissions           []Permission
}

// DeveloperRoleID is the role that new members get.
const DeveloperRoleID = "00000000-0000-0000-0000-000000000001"

// BuiltinRoles are the roles that every organization has.
func BuiltinRoles() []AssignableRole {
	id := func(n string) string { return "00000000-0000-0000-0000-00000000000" + n }
	return []AssignableRole{
		{DeveloperRoleID, "Developer", "Create and use sandboxes", []Permission{WriteSandboxes}},
		{id("2"), "Sandboxes Admin", "Everything about sandboxes", []Permission{WriteSandboxes, DelSandboxes}},
		{id("3"), "Snapshots Admin", "Everything about snapshots", []Permission{WriteSnapshots, DelSnapshots}},
		{id("4"), "Registries Admin", "Everything about registries", []Permission{WriteRegistries, DelRegistries}},
		{id("5"), "Super Admin", "Everything", Permissions()},
		{id("6"), "Volumes Admin", "Everything about volumes", []Permission{ReadVolumes, WriteVolumes, DelVolumes}},
		{id("7"), "Auditor", "Read the audit log", []Permission{ReadAuditLogs}},
		{id("8"), "Infrastructure Admin", "Everything about regions and runners",
			[]Permission{WriteRegions, DelRegions, ReadRunners, WriteRunners, DelRunners}},
	}
}

// Effective is what a key may do in the hands of a member. An owner's key may do
// what is written on it, a member's only what the member's roles allow as well.
func Effective(key []Permission, m org.Membership) []Permission {
	if m.Role == org.Owner {
		return slices.Clone(key)
	}
	var held []Permission
	for _, r := range BuiltinRoles() {
		if slices.Contains(m.AssignedRoleIDs, r.ID) {
			held = append(held, r.Permissions...)
		}
	}
	out := []Permission{}
	for _, p := range key {
		if slices.Contains(held, p) {
			out = append(out, p)
		}
	}
	return out
}
