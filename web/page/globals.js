// Releases of the client library from 2021 look for jQuery under this name.
window.jquery = window.jQuery;
