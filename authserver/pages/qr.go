package pages

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

const quietZone = 4 // modules of white on every side, ISO/IEC 18004 5.3.8

// qrCode draws text as a QR code: SVG that stands in the page itself, so that it
// needs no script and no image from anywhere, under any content policy. It is
// dark on light in every colour scheme: many cameras read nothing else. Text
// that is too long for one is drawn as nothing; it stands beside it in letters.
func qrCode(text template.URL) template.HTML {
	code, err := qr.Encode(string(text), qr.M)
	if err != nil {
		return ""
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			if from := x; code.Black(x, y) {
				for code.Black(x+1, y) { // outside it is light
					x++
				}
				fmt.Fprintf(&path, "M%d %dh%dv1H%dz", from+quietZone, y+quietZone, x-from+1, from+quietZone)
			}
		}
	}
	side := code.Size + 2*quietZone
	return template.HTML(fmt.Sprintf(`<svg class="qr" role="img" aria-label="QR code of the key below, for the camera of an authenticator app" viewBox="0 0 %d %[1]d" shape-rendering="crispEdges"><rect width="%[1]d" height="%[1]d" fill="#fff"/><path fill="#000" d="%s"/></svg>`, side, &path)) // numbers alone
}
