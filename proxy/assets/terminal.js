// The page of the web terminal: a shell that goes on while the page is reloaded
// or the network is away. Input is sent as bytes; a text {"rows","cols"} says the
// size. Output comes as text.
(() => {
  'use strict'

  const ended = 4000 // close code: the shell has ended
  const status = document.getElementById('status')
  const terminal = new Terminal({
    cursorBlink: true,
    fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace',
    fontSize: 14,
    scrollback: 10000,
    theme: { background: '#14161b', foreground: '#e6e6e6' },
  })
  const fit = new FitAddon.FitAddon()
  terminal.loadAddon(fit)
  terminal.loadAddon(new WebLinksAddon.WebLinksAddon((event, uri) => {
    window.open(uri, '_blank', 'noopener,noreferrer')
  }))
  terminal.open(document.getElementById('terminal'))
  fit.fit()
  terminal.focus()
  terminal.onTitleChange((title) => { document.title = title || 'Terminal' })

  // Ctrl+Shift+C copies, and so does Ctrl+C while something is selected; what
  // is pasted comes by itself.
  terminal.attachCustomKeyEventHandler((event) => {
    const c = event.type === 'keydown' && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'c'
    if (!c || !terminal.hasSelection() || event.altKey) return true
    // Without TLS a page has no clipboard of its own but the one for its selection.
    if (navigator.clipboard) navigator.clipboard.writeText(terminal.getSelection())
    else document.execCommand('copy')
    terminal.clearSelection()
    event.preventDefault()
    return false
  })

  // A window keeps its shell when it is reloaded.
  const fresh = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(12))
    const id = 'web-' + Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
    sessionStorage.setItem('session', id)
    return id
  }
  let session = sessionStorage.getItem('session') || fresh()

  let socket = null
  let over = false
  let attempt = 0
  let early = '' // what was typed before the shell was there
  const say = (text) => { status.textContent = text; status.hidden = !text }
  const encoder = new TextEncoder()
  const send = (data) => { if (socket && socket.readyState === WebSocket.OPEN) socket.send(data) }
  const input = (text) => send(encoder.encode(text))
  const typed = (text) => {
    if (socket.readyState === WebSocket.CONNECTING && attempt === 0) early = (early + text).slice(0, 4096)
    else input(text)
  }
  const size = () => send(JSON.stringify({ rows: terminal.rows, cols: terminal.cols }))

  const connect = () => {
    const url = new URL('ws', location.href)
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:'
    url.search = new URLSearchParams({ session, cols: terminal.cols, rows: terminal.rows })
    socket = new WebSocket(url)
    socket.onopen = () => {
      attempt = 0
      say('')
      terminal.reset() // what was printed before comes again
      size()
      if (early) input(early)
      early = ''
    }
    socket.onmessage = (event) => terminal.write(event.data)
    socket.onclose = (event) => {
      if (event.code === ended) {
        over = true
        terminal.write('\r\n\x1b[2m[The shell has ended. Press Enter for another one.]\x1b[0m\r\n')
        return
      }
      attempt++
      say('Connection lost. ' + (event.reason || 'Trying again…'))
      setTimeout(connect, Math.min(250 * 2 ** attempt, 10000))
    }
  }
  terminal.onData((data) => {
    if (!over) return typed(data)
    if (data !== '\r') return
    over = false
    session = fresh()
    connect()
  })
  terminal.onResize(size)
  new ResizeObserver(() => fit.fit()).observe(document.getElementById('terminal'))
  connect()
})()
