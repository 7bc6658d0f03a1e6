#!/bin/sh
# One look for everybody: a bar with the open windows, a menu on a click on the
# background, windows that are placed where there is room.
set -eu
cat > /etc/jwm/system.jwmrc <<'EOF'
<?xml version="1.0"?>
<JWM>
  <RootMenu onroot="123" label="Menu" labeled="false">
    <Program label="Terminal">xterm</Program>
    <Program label="Editor">mousepad</Program>
  </RootMenu>
  <Tray x="0" y="-1" height="28" autohide="off">
    <TrayButton label="Menu">root:1</TrayButton>
    <TaskList maxwidth="240"/>
    <Clock format="%H:%M"/>
  </Tray>
  <WindowStyle>
    <Font>DejaVu Sans-10</Font>
    <Active><Foreground>#FFFFFF</Foreground><Background>#2E5A88</Background></Active>
    <Inactive><Foreground>#D0D0D0</Foreground><Background>#556677</Background></Inactive>
  </WindowStyle>
  <TrayStyle><Font>DejaVu Sans-10</Font><Foreground>#F0F0F0</Foreground><Background>#22303C</Background></TrayStyle>
  <TaskListStyle><Active><Foreground>#FFFFFF</Foreground><Background>#2E5A88</Background></Active></TaskListStyle>
  <MenuStyle><Font>DejaVu Sans-10</Font></MenuStyle>
  <Desktops width="1" height="1">
    <Background type="solid">#3B6E8F</Background>
  </Desktops>
  <FocusModel>click</FocusModel>
  <SnapMode distance="10">border</SnapMode>
  <MoveMode>opaque</MoveMode>
  <ResizeMode>opaque</ResizeMode>
</JWM>
EOF
# A fixed font of a size that can be read off a screenshot.
mkdir -p /etc/X11/app-defaults
cat >> /etc/X11/app-defaults/XTerm <<'EOF'
*VT100.faceName: DejaVu Sans Mono
*VT100.faceSize: 11
EOF
# Who opens the port in a browser sees the desktop, not a list of files.
cat > /usr/share/novnc/index.html <<'EOF'
<!DOCTYPE html>
<title>Desktop</title>
<meta http-equiv="refresh" content="0; url=vnc.html?autoconnect=true&amp;resize=scale&amp;reconnect=true">
<a href="vnc.html?autoconnect=true&amp;resize=scale">Desktop</a>
EOF
fc-cache -s > /dev/null 2>&1 || true
