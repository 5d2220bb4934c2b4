// Bytes of strangers as text that can be read: hex for what is no UTF-8, and signs for characters
// that show nothing or turn the text around.

/** @param {string} text base64 @returns {Uint8Array} */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

/** Sixteen bytes a line: offset, hex, and what of it is ASCII. @param {Uint8Array} bytes */
export function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = [...bytes.subarray(at, at + 16)];
    const codes = part.map((one) => one.toString(16).padStart(2, '0')).join(' ');
    const signs = part
      .map((one) => (one >= 32 && one < 127 ? String.fromCharCode(one) : '.'))
      .join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${codes.padEnd(47)}  ${signs}`);
  }
  return lines.join('\n');
}

/**
 * With every character that is not seen as its code, but for line breaks and tabs.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(
    /[^\P{C}\n\t]|[\u2028\u2029]/gu,
    (one) => `\\u{${one.codePointAt(0)?.toString(16)}}`,
  );
}

/**
 * A payload as the server shows it, as text: of a long one the first `most` characters or bytes.
 * @param {{ text?: string, bytes_base64?: string }} payload
 * @param {number} most
 * @returns {{ kind: 'text' | 'hex' | 'none', shown: string,
 *   left: number }} `left`: how much of it is not shown
 */
export function payloadOf({ text, bytes_base64: base64 }, most) {
  if (text !== undefined)
    return {
      kind: 'text',
      shown: visible(text.slice(0, most)),
      left: Math.max(0, text.length - most),
    };
  if (base64 === undefined) return { kind: 'none', shown: '', left: 0 };
  const bytes = bytesOf(base64);
  return {
    kind: 'hex',
    shown: hex(bytes.subarray(0, most)),
    left: Math.max(0, bytes.length - most),
  };
}
