package storage

import (
	"context"

	"daytona/controlplane/snapshot"
	"daytona/controlplane/upload"
)

// UploadsInUse implements upload.Rows.
func (db *DB) UploadsInUse(ctx context.Context) ([]upload.Use, error) {
	uses, err := list(ctx, db, db.reader(), func(r scanner) (u upload.Use, err error) {
		var ref, digest, dockerfile string
		err = r.Scan(&u.OrgID, &ref, &digest, &dockerfile, jsonTo{&u.Contexts})
		u.Text = pinned(ref, digest) + dockerfile // an image has a reference or a Dockerfile
		return u, err
	}, `SELECT org_id, ref, digest, dockerfile, contexts FROM images`)
	if err != nil {
		return nil, err
	}
	more, err := list(ctx, db, db.reader(), func(r scanner) (u upload.Use, err error) {
		var build *snapshot.BuildInfo
		var ref, digest string
		err = r.Scan(&u.OrgID, &ref, &digest, jsonTo{&build})
		if u.Text = pinned(ref, digest); err == nil && build != nil {
			u.Text, u.Contexts = build.Dockerfile, build.Contexts
		}
		return u, err
	}, `SELECT org_id, image_name, digest, build_info FROM snapshots`)
	return append(uses, more...), err
}

// pinned is a reference with what it stood for, once that is known.
func pinned(ref, digest string) string {
	if digest == "" {
		return ref
	}
	return ref + "@" + digest
}
