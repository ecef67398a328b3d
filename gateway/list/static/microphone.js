// Speech as POST /dictate takes it: WAV, 16 kHz, 16 bits, one channel, made here without any codec. The microphone is
// open only between start and stop, and nothing is kept.

const RATE_HZ = 16_000; // and the rest below: worklist/spoken/wav.py
const HEADER_BYTES = 44;

export const hasMicrophone = () => Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

/**
 * Open the microphone.
 *
 * @returns a function that closes it and resolves to the WAV file.
 */
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false },
  });
  const context = new AudioContext();
  const blocks = [];
  const closed = async () => {
    for (const track of stream.getTracks()) track.stop();
    await context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => blocks.push(data);
    context.createMediaStreamSource(stream).connect(recorder);
    await context.resume();
  } catch (error) {
    await closed();
    throw error;
  }
  return async () => {
    const rate = context.sampleRate;
    await closed();
    return wav(await resampled(blocks, rate));
  };
}

/** The blocks as one, at 16 kHz: the browser's own resampler lets nothing above 8 kHz fold down. */
async function resampled(blocks, rate) {
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  if (!length) return new Float32Array();
  const offline = new OfflineAudioContext(1, Math.ceil((length * RATE_HZ) / rate), RATE_HZ);
  const buffer = offline.createBuffer(1, length, rate);
  let place = 0;
  for (const block of blocks) {
    buffer.copyToChannel(block, 0, place);
    place += block.length;
  }
  const source = offline.createBufferSource();
  source.buffer = buffer;
  source.connect(offline.destination);
  source.start();
  return (await offline.startRendering()).getChannelData(0);
}

function wav(samples) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + 2 * samples.length));
  const text = (place, letters) => [...letters].forEach((letter, at) => view.setUint8(place + at, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of this part
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE_HZ, true);
  view.setUint32(28, 2 * RATE_HZ, true); // bytes a second
  view.setUint16(32, 2, true); // bytes of a sample
  view.setUint16(34, 16, true); // bits of a sample
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, at) => {
    const value = Math.max(-1, Math.min(1, sample));
    view.setInt16(HEADER_BYTES + 2 * at, Math.round(value < 0 ? value * 0x8000 : value * 0x7fff), true);
  });
  return new Blob([view], { type: "audio/wav" });
}
