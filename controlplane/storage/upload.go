package storage

import (
	"context"

	"daytona/controlplane/snapshot"
	"daytona/controlplane/upload"
)

// UploadsInUse implements upload.Rows.
func (db *DB) UploadsInUse(ctx context.Context) ([]upload.Use, error) {
	uses, err := list(ctx, db, db.reader(), func(r scanner) (u upload.Use, err error) {
		var ref, dockerfile string
		err = r.Scan(&u.OrgID, &ref, &dockerfile, jsonTo{&u.Contexts})
		u.Text = ref + dockerfile // an image has the one or the other
		return u, err
	}, `SELECT org_id, ref, dockerfile, contexts FROM images`)
	if err != nil {
		return nil, err
	}
	more, err := list(ctx, db, db.reader(), func(r scanner) (u upload.Use, err error) {
		var build *snapshot.BuildInfo
		if err = r.Scan(&u.OrgID, &u.Text, jsonTo{&build}); err == nil && build != nil {
			u.Text, u.Contexts = build.Dockerfile, build.Contexts
		}
		return u, err
	}, `SELECT org_id, image_name, build_info FROM snapshots`)
	return append(uses, more...), err
}
