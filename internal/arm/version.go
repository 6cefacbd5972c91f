package arm

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// versions are the api-versions of Microsoft.Storage, those of the hybrid profiles among them.
var versions = []string{
	"2015-06-15", "2016-01-01", "2016-05-01", "2016-12-01", "2017-06-01", "2017-10-01", "2018-02-01", "2018-03-01-preview", "2018-07-01", "2018-11-01",
	"2019-04-01", "2019-06-01", "2020-08-01-preview", "2021-01-01", "2021-02-01", "2021-04-01", "2021-06-01", "2021-08-01", "2021-09-01",
	"2022-05-01", "2022-09-01", "2023-01-01", "2023-04-01", "2023-05-01", "2024-01-01",
}

var versionForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview|-privatepreview|-beta|-alpha)?$`)

// checkVersion: one is needed; what is newer than the newest is served as that, and a form that is none is refused. Other providers'
// are not compared with a list.
func (c *call) checkVersion() error {
	v := c.version()
	if v == "" {
		return errorf(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	known := versionForm.MatchString(v)
	if strings.Contains(c.op.path, "/providers/"+storage+"/") {
		known = known && (slices.Contains(versions, v) || v > versions[len(versions)-1])
	}
	if !known {
		return errorf(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported versions are '%s'.", v, strings.Join(versions, ","))
	}
	return nil
}

func (c *call) version() string { return strings.ToLower(c.query.Get("api-version")) }
