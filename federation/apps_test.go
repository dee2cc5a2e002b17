package federation

import "testing"

func TestAnAppIsShownInTheMergedNamespaceOnlyWhereTheOperatorSaysSo(t *testing.T) {
	for _, c := range []struct{ rule, own, merged string }{
		{"both forms go, who may see the tool stays",
			`{"name":"t","_meta":{"ui":{"resourceUri":"ui://a","visibility":["app"]},"ui/resourceUri":"ui://a","keep":1}}`,
			`{"name":"up__t","_meta":{"ui":{"visibility":["app"]},"keep":1}}`},
		{"what becomes empty goes too",
			`{"name":"t","_meta":{"ui":{"resourceUri":"ui://a"}},"title":"T"}`, `{"name":"up__t","title":"T"}`},
		{"the older form alone", `{"name":"t","_meta":{"ui/resourceUri":"ui://a"}}`, `{"name":"up__t"}`},
		{"no app, nothing touched", `{"name":"t","_meta":{"ui":{"visibility":["model"]},"a":{}}}`, `{"name":"up__t","_meta":{"ui":{"visibility":["model"]},"a":{}}}`},
		{"ui that is no object", `{"name":"t","_meta":{"ui":"x"}}`, `{"name":"up__t","_meta":{"ui":"x"}}`},
	} {
		u := entry("up")
		i := encodeOne(t, u, Tool, c.own)
		if string(i.Own) != c.own || string(i.Merged) != c.merged {
			t.Errorf("%s: own %s, merged %s", c.rule, i.Own, i.Merged)
		}
		bare := *u
		bare.Prefix = ""
		if got := string(encodeOne(t, &bare, Tool, c.own).Merged); got == c.own && c.merged[len(`{"name":"up__t"`):] != c.own[len(`{"name":"t"`):] {
			t.Errorf("%s: without a prefix the app is shown: %s", c.rule, got)
		}
	}
	u := entry("up")
	u.MergedApps = true
	i := encodeOne(t, u, Tool, `{"name":"t","_meta":{"ui":{"resourceUri":"ui://a"}}}`)
	if want := `{"name":"up__t","_meta":{"ui":{"resourceUri":"ui://a#upstream=up"}}}`; string(i.Merged) != want {
		t.Errorf("merged: %s", i.Merged)
	}
}
