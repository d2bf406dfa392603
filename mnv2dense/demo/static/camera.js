// The camera: frame after frame to the model, as fast as it answers.

export class Camera {
  #stream = null;

  /** @param {HTMLVideoElement} video where the frames come in, unseen. */
  constructor(video) {
    this.video = video;
  }

  get running() {
    return this.#stream !== null;
  }

  /** @param {(frame: ImageBitmap) => Promise<void>} show is awaited before the next frame is taken. */
  async start(show) {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    this.#stream = stream;
    this.video.srcObject = stream;
    this.video.hidden = false;
    await this.video.play();
    this.#loop(stream, show);
  }

  async #loop(stream, show) {
    while (this.#stream === stream) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      if (this.#stream !== stream || this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) continue;
      await show(await createImageBitmap(this.video));
    }
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.video.srcObject = null;
    this.video.hidden = true;
  }
}
