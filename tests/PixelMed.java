import com.pixelmed.apps.CheckAllUIDReferencesResolve;
import com.pixelmed.validate.DicomSRValidator;
import com.sun.org.apache.xalan.internal.xsltc.trax.TransformerFactoryImpl;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import javax.xml.transform.Source;
import javax.xml.transform.Transformer;
import javax.xml.transform.TransformerConfigurationException;
import javax.xml.transform.URIResolver;

/**
 * PixelMed's validators in one process, since compiling the templates takes far longer than checking a file.
 *
 * <p>Reads "template FILE" and "references FOLDER" lines and ends each answer with a line that holds only END.
 */
public class PixelMed {
    public static void main(String[] none) throws Exception {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setErr(out); // where the reference check's logger writes
        Thread.currentThread().setContextClassLoader(Named.class.getClassLoader());
        System.setProperty("javax.xml.transform.TransformerFactory", Named.class.getName());
        DicomSRValidator validator = new DicomSRValidator();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] request = line.split(" ", 2);
            try {
                if (request[0].equals("references")) {
                    new CheckAllUIDReferencesResolve(new String[] {request[1]});
                } else {
                    // code meanings in their case, and template identifiers; neither ambiguity nor order, which
                    // costs minutes: TID 1500 takes TID 1410 for 1501, and the order of TID 2002 is not significant
                    out.print(validator.validate(request[1], false, true, false, false, true));
                }
            } catch (Exception error) {
                out.println("Failed: " + error);
            }
            out.println("END");
        }
    }

    /**
     * Names what the validator reads without a name: its style sheets, and the context groups where they look codes up.
     *
     * <p>A document that has a name is read once for a report, and else once for each look-up, hundreds of times.
     */
    public static class Named extends TransformerFactoryImpl {
        private static final String FOLDER = "file:///com/pixelmed/validate/"; // as in the jar; nothing is opened by it

        @Override
        public void setURIResolver(URIResolver resolver) {
            super.setURIResolver((href, base) -> named(resolver.resolve(href, base), href));
        }

        @Override
        public Transformer newTransformer(Source sheet) throws TransformerConfigurationException {
            return super.newTransformer(named(sheet, "sheet.xsl"));
        }

        private static Source named(Source source, String name) {
            source.setSystemId(FOLDER + name);
            return source;
        }
    }
}
