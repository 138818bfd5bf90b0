// What HTML and htmx cannot do. Every page works without it; it keeps nothing.
{
  const every = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const flash = document.getElementById("flash");

  const complain = (words) => {
    flash.innerHTML =
      '<div class="flash bad" role="alert"><svg aria-hidden="true"><use href="#i-warn"/></svg><p></p></div>';
    flash.querySelector("p").textContent = words;
  };

  // Nobody asked for the stream of changes, so nobody is told that it failed: it comes back by itself.
  const isStream = (ctx) => ctx?.sourceElement?.hasAttribute("hx-sse:connect");

  // No answer, or one from something in front of the site, which must not land in the page.
  addEventListener("htmx:error", (event) => {
    if (!isStream(event.detail.ctx)) complain("The site did not answer. Check your connection and try again.");
  });
  addEventListener("htmx:before:response", (event) => {
    const { response, hx, sourceElement } = event.detail.ctx;
    if (isStream(event.detail.ctx)) {
      if (response.status != 200) event.preventDefault();
      return;
    }
    // A field does not hold or the session has ended: the whole page says so and gives all of it back.
    if ([401, 422].includes(response.status) && sourceElement.matches(".writing [formaction]")) {
      event.preventDefault();
      sourceElement.form.requestSubmit(sourceElement);
      return;
    }
    if (response.status < 400 || response.status == 422 || hx.retarget) return;
    event.preventDefault();
    complain("The site cannot answer just now. Try again in a moment.");
  });
  addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.response.status < 400 && flash.querySelector(".bad")) flash.replaceChildren();
  });

  // The link that asked for more is gone: go on at the first of what it brought.
  addEventListener("htmx:after:settle", (event) => {
    const { task, newContent } = event.detail;
    if (task.type == "partial" && task.target.id == "posts") newContent.find((node) => node.querySelector)?.querySelector("a")?.focus();
    reach();
  });

  // What scrolls sideways must be reachable by keyboard.
  const reach = () =>
    every(".prose :is(pre,table)", (box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    });
  reach();

  // A second press while the first is on its way does nothing. Nothing is disabled, so the pressed
  // button's value is sent, and coming back finds the form usable.
  addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      if (form.matches(".htmx-request,[data-sent]")) {
        event.preventDefault();
        event.stopImmediatePropagation();
      } else if (!form.target && !form.hasAttribute("hx-post")) {
        form.dataset.sent = "";
        setTimeout(() => delete form.dataset.sent, 8000);
      }
    },
    true,
  );
  addEventListener("pageshow", () => every("[data-sent]", (form) => delete form.dataset.sent));

  every(".pw button", (button) => {
    const field = button.previousElementSibling;
    const show = (shown) => {
      field.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", shown);
    };
    button.hidden = false;
    button.addEventListener("click", () => show(field.type == "password"));
    // Else the browser would keep it among the words to suggest.
    field.form.addEventListener("submit", () => show(false));
  });

  every(".writing", (form) => {
    const { title } = form.elements;
    const left = document.getElementById("title-left");
    const count = () => {
      // In characters, as the site counts; `length` would count an emoji twice.
      const rest = title.dataset.most - [...title.value.trim().normalize()].length;
      left.textContent = rest > 20 ? "" : rest < 0 ? `${-rest} too many` : `${rest} left`;
    };
    title.addEventListener("input", count);
    count();

    const differs = (field) => "defaultValue" in field && field.value != field.defaultValue;
    addEventListener("beforeunload", (event) => {
      if ("sent" in form.dataset) return;
      if ("unsaved" in form.dataset || [...form.elements].some(differs)) event.preventDefault();
    });
  });
}
