package org

import (
	"reflect"
	"testing"
)

func TestOverview(t *testing.T) {
	q := Quota{TotalCPU: 10, TotalMemoryGiB: 20, TotalDiskGiB: 30, MaxCPU: 4, Snapshots: 5, Volumes: 6}
	five := 5
	got := overview(Organization{ID: "o", Quota: q}, []string{"us", "eu"}, []RegionQuota{{RegionID: "eu", TotalCPU: &five, MaxCPU: new(int)}},
		map[string]Usage{"": {Snapshots: 2}, "us": {CPU: 3, MemoryGiB: 4, DiskGiB: 5}, "closed": {DiskGiB: 7}})
	eu := q
	eu.TotalCPU, eu.MaxCPU = 5, 0
	total := q
	total.TotalCPU, total.TotalMemoryGiB, total.TotalDiskGiB = 25, 60, 90
	want := Overview{
		Organization: Organization{ID: "o", Quota: q}, Total: total, Used: Usage{CPU: 3, MemoryGiB: 4, DiskGiB: 12, Snapshots: 2},
		Regions: []RegionOverview{
			{RegionID: "closed", Quota: q, Used: Usage{DiskGiB: 7}},
			{RegionID: "eu", Quota: eu},
			{RegionID: "us", Quota: q, Used: Usage{CPU: 3, MemoryGiB: 4, DiskGiB: 5}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
