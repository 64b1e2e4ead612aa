/* fixture: pwa worker */
