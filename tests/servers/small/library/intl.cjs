module.exports = () => {
  const format = new Intl.DateTimeFormat("de-DE", { dateStyle: "full", timeStyle: "long", timeZone: "Europe/Berlin" });
  return format.format(new Date(1.8e12)) + " " + new TextDecoder("shift_jis").decode(new Uint8Array([0x83, 0x65]));
};
