#!/bin/sh
# Debian's Chromium without what no test looks at and each window pays for: the list that opens below the address bar,
# which is a page with a process of its own, and a process kept ready for the next site. Playwright lists the features
# that it needs off, and of two such lists Chromium heeds the last: so these are put behind Playwright's own.
features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess
for argument do
	shift
	case $argument in --disable-features=*) argument=$argument,$features ;; esac
	set -- "$@" "$argument"
done
exec chromium "$@"
